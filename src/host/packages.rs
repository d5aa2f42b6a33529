//! Which policy files packages install, and whether they are as they came: what dpkg's own lists say, without starting
//! a package manager.
//!
//! **Invariant:** every byte sequence is a list; lines that are not as dpkg writes them say nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use md5::{Digest as _, Md5};

use crate::error::Error;
use crate::host::root::Root;

/// dpkg's list of packages, which names each one's configuration files (dpkg-query(1)).
const STATUS: &str = "/var/lib/dpkg/status";
/// The directory with one list of all other files for each package, `<package>.md5sums` (deb-md5sums(5)).
const INFO: &str = "/var/lib/dpkg/info";
/// The largest list that is read, in bytes; one of 5,000 packages has about 5 MiB.
const MAX_LIST: u64 = 64 << 20;

/// What the installed packages ship in one directory, by absolute path below the root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packages {
    shipped: BTreeMap<PathBuf, Shipped>,
}

/// A file that an installed package ships. A configuration file that a package no longer ships, or that a removed one
/// left, is nobody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shipped {
    /// The package's name.
    pub package: String,
    /// The MD5 of its bytes as shipped, the one digest that dpkg keeps; none while the package is not yet configured.
    md5: Option<[u8; 16]>,
}

impl Shipped {
    /// Says whether a file with these bytes is another than the package's.
    #[must_use]
    pub fn is_edited(&self, bytes: &[u8]) -> bool {
        self.md5 != Some(Md5::digest(bytes).into())
    }

    /// Says whether the package is set up, so that an absent file was removed by somebody.
    #[must_use]
    pub fn is_set_up(&self) -> bool {
        self.md5.is_some()
    }
}

impl Packages {
    /// Reads dpkg's lists for what lies below `directory`; none where there is no dpkg.
    ///
    /// # Errors
    /// A list cannot be read.
    pub fn read(root: &Root, directory: &Path) -> Result<Option<Self>, Error> {
        let Some(status) = root.read(Path::new(STATUS), MAX_LIST)? else { return Ok(None) };
        let mut packages = Self::default();
        packages.add_status(&status.bytes, directory);
        for listed in root.list(Path::new(INFO))?.unwrap_or_default() {
            let Some(name) = listed.name.to_str().and_then(|name| name.strip_suffix(".md5sums")) else { continue };
            if let Some(sums) = root.read(&Path::new(INFO).join(&listed.name), MAX_LIST)? {
                // `libc6:amd64.md5sums` belongs to the package libc6.
                packages.add_sums(&sums.bytes, name.split(':').next().unwrap_or(name), directory);
            }
        }
        Ok(Some(packages))
    }

    /// The file at `path`, if a package ships it.
    #[must_use]
    pub fn shipped(&self, path: &Path) -> Option<&Shipped> {
        self.shipped.get(path)
    }

    /// Every file that a package ships, by path.
    pub fn iter(&self) -> impl Iterator<Item = (&Path, &Shipped)> {
        self.shipped.iter().map(|(path, shipped)| (path.as_path(), shipped))
    }

    /// Takes the lines ` /path md5sum [obsolete]` that follow a package's `Conffiles:` (deb-conffiles(5)).
    fn add_status(&mut self, status: &[u8], directory: &Path) {
        let mut package = None;
        let mut is_installed = false;
        for line in String::from_utf8_lossy(status).lines() {
            if let Some(name) = line.strip_prefix("Package: ") {
                (package, is_installed) = (Some(name.to_owned()), false);
            } else if let Some(state) = line.strip_prefix("Status: ") {
                is_installed = !matches!(state.rsplit(' ').next(), Some("config-files" | "not-installed") | None);
            } else if let (true, Some(package), true) = (line.starts_with(" /"), &package, is_installed) {
                let Some((path, sum)) = line[1..].rsplit_once(' ') else { continue };
                // A further word says that the package does not ship the file any more.
                let path = Path::new(path);
                if path.starts_with(directory) && !matches!(sum, "obsolete" | "remove-on-upgrade") {
                    let shipped = Shipped { package: package.clone(), md5: from_hex(sum) };
                    self.shipped.insert(path.to_owned(), shipped);
                }
            }
        }
    }

    /// Takes the lines `md5sum  path` of one package, whose paths have no leading slash. A configuration file that is
    /// listed here too is known already.
    fn add_sums(&mut self, sums: &[u8], package: &str, directory: &Path) {
        let Some(prefix) = directory.to_str().map(|directory| format!("  {}/", directory.trim_start_matches('/')))
        else {
            return;
        };
        for line in sums.split(|byte| *byte == b'\n') {
            // The sum has 32 digits, whatever stands there: what follows is the path.
            let Some((sum, path)) = line.split_at_checked(32) else { continue };
            if path.starts_with(prefix.as_bytes()) {
                let path = Path::new("/").join(&*String::from_utf8_lossy(&path[2..]));
                let md5 = std::str::from_utf8(sum).ok().and_then(from_hex);
                self.shipped.entry(path).or_insert(Shipped { package: package.to_owned(), md5 });
            }
        }
    }
}

fn from_hex(text: &str) -> Option<[u8; 16]> {
    let is_md5 = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_md5.then(|| u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: &str = "/etc/apparmor.d";

    fn of_status(status: &str) -> Packages {
        let mut packages = Packages::default();
        packages.add_status(status.as_bytes(), Path::new(POLICY));
        packages
    }

    fn owner<'a>(packages: &'a Packages, name: &str) -> Option<&'a str> {
        packages.shipped(&Path::new(POLICY).join(name)).map(|shipped| shipped.package.as_str())
    }

    #[test]
    fn a_configuration_file_leads_to_its_package() {
        let md5 = "d41d8cd98f00b204e9800998ecf8427e";
        let packages = of_status(&format!(
            "Package: apparmor\nStatus: install ok installed\nConffiles:\n /etc/apparmor.d/x {md5}\n /etc/y {md5}\n\n\
             Package: nginx\nStatus: install ok triggers-pending\nConffiles:\n /etc/apparmor.d/with space {md5}\n \
             /etc/apparmor.d/gone {md5} obsolete\n /etc/apparmor.d/going {md5} remove-on-upgrade\n\n\
             Package: removed\nStatus: deinstall ok config-files\nConffiles:\n /etc/apparmor.d/left {md5}\n\n\
             Package: new\nStatus: install ok unpacked\nConffiles:\n /etc/apparmor.d/unpacked newconffile\n"
        ));
        assert_eq!(owner(&packages, "x"), Some("apparmor"));
        assert_eq!(owner(&packages, "with space"), Some("nginx"));
        for nobodys in ["gone", "going", "left", "nothing"] {
            assert_eq!(owner(&packages, nobodys), None, "{nobodys}");
        }
        assert!(packages.shipped(Path::new("/etc/y")).is_none(), "only what lies below the directory is kept");
        let shipped = packages.shipped(Path::new("/etc/apparmor.d/x")).unwrap();
        assert!(!shipped.is_edited(b"") && shipped.is_edited(b"edited") && shipped.is_set_up());
        let unpacked = packages.shipped(Path::new("/etc/apparmor.d/unpacked")).unwrap();
        assert!(unpacked.is_edited(b"") && !unpacked.is_set_up());
    }

    #[test]
    fn files_that_are_no_configuration_files_are_found_too() {
        let mut packages = of_status(
            "Package: a\nStatus: install ok installed\nConffiles:\n /etc/apparmor.d/x d41d8cd98f00b204e9800998ecf8427e\n",
        );
        let sums = "0cc175b9c0f1b6a831c399e269772661  etc/apparmor.d/abi/with space\n\
                    0cc175b9c0f1b6a831c399e269772661  etc/apparmor.d/x\n\
                    0cc175b9c0f1b6a831c399e269772661  usr/bin/x\n";
        packages.add_sums(sums.as_bytes(), "b", Path::new(POLICY));
        assert_eq!((owner(&packages, "abi/with space"), owner(&packages, "x")), (Some("b"), Some("a")));
        assert_eq!(packages.iter().count(), 2);
        packages.add_sums(b"  etc/apparmor0d/xxxxxxxxxxxxxxxx  etc/apparmor.d/", "b", Path::new(POLICY));
        assert!(packages.iter().all(|(path, _)| path.starts_with(POLICY)), "a line without a sum");
        assert!(!packages.shipped(Path::new("/etc/apparmor.d/abi/with space")).unwrap().is_edited(b"a"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_list(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            lines in "((Package: |Status: | /etc/apparmor.d/|  etc/apparmor.d/|[a-f0-9]{32})[ \\PC]{0,8}\n?){0,20}",
        ) {
            for list in [&bytes[..], lines.as_bytes()] {
                let mut packages = Packages::default();
                packages.add_status(list, Path::new(POLICY));
                packages.add_sums(list, "p", Path::new(POLICY));
                prop_assert!(packages.iter().all(|(path, _)| path.starts_with(POLICY)));
            }
        }
    }
}
