//! The parser's own cache of compiled policy, which the next boot reads.

use std::io;

use crate::error::Error;
use crate::host::Host;
use crate::host::dir::Removal;
use crate::host::parser::ParserConf;
use crate::host::root::Kind;
use crate::profile::FileName;

/// Drops the entries of these files from every cache of the parser. The next boot reads them, and the parser judges
/// them by time stamps alone; an entry's name is that of the profile's file (parser_main.c, `process_profile`).
pub(super) fn drop_cached(host: &Host, conf: &ParserConf, files: &[FileName]) -> Result<(), Error> {
    if files.is_empty() {
        return Ok(());
    }
    for location in conf.cache_locs() {
        let Some(cache) = host.root.dir(&location)? else { continue };
        let mut directories = vec![cache.clone()];
        for listed in cache.list()? {
            // A link is not followed: the parser makes directories here, and nothing else.
            if listed.kind == Kind::Directory {
                directories.extend(cache.dir(&listed.name)?);
            }
        }
        for directory in directories {
            let mut dropped = false;
            for file in files {
                match directory.remove_file(file.as_str()) {
                    Ok(Removal::Removed) => dropped = true,
                    Ok(Removal::Absent | Removal::NotEmpty) => {}
                    // The parser cannot read a directory as an entry either.
                    Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::IsADirectory => {}
                    Err(error) => return Err(error),
                }
            }
            if dropped {
                directory.sync()?;
            }
        }
    }
    Ok(())
}
