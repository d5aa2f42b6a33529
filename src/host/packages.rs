//! Which installed files belong to packages, as far as a local list says so without starting a package manager.

use std::path::Path;

use crate::error::Error;
use crate::host::root::Root;

/// dpkg's list of packages, which names each one's configuration files (dpkg-query(1)).
const DPKG_STATUS: &str = "/var/lib/dpkg/status";
/// The largest list that is read, in bytes; one of 5,000 packages has about 5 MiB.
const MAX_STATUS: u64 = 64 << 20;

/// The dpkg package whose configuration file `path` is; none where there is no dpkg.
///
/// # Errors
/// dpkg's list cannot be read.
pub fn owner_of(root: &Root, path: &Path) -> Result<Option<String>, Error> {
    let Some(status) = root.read(Path::new(DPKG_STATUS), MAX_STATUS)? else { return Ok(None) };
    Ok(owner_in(&String::from_utf8_lossy(&status.bytes), path))
}

/// Finds `path` among the lines ` /path md5sum` that follow a package's `Conffiles:` (deb-conffiles(5)).
fn owner_in(status: &str, path: &Path) -> Option<String> {
    let mut package = None;
    for line in status.lines() {
        if let Some(name) = line.strip_prefix("Package: ") {
            package = Some(name);
        } else if line.starts_with(" /") && line.split_whitespace().next().map(Path::new) == Some(path) {
            return package.map(str::to_owned);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_file_leads_to_its_package() {
        let status = "Package: apparmor\nStatus: install ok installed\nConffiles:\n /etc/apparmor.d/x 0123\n\n\
                      Package: nginx\nConffiles:\n /etc/apparmor.d/usr.sbin.nginx 4567 obsolete\n";
        let owner = |path: &str| owner_in(status, Path::new(path));
        assert_eq!(owner("/etc/apparmor.d/usr.sbin.nginx").as_deref(), Some("nginx"));
        assert_eq!(owner("/etc/apparmor.d/x").as_deref(), Some("apparmor"));
        assert_eq!(owner("/etc/apparmor.d/y"), None);
    }
}
