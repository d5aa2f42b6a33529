# @summary AppArmor policy of a host, from Hiera.
#
# The parameters are the fields of aa-converge's document, which `aa-converge schema document` describes. Lists of several
# levels of Hiera are put together; where two levels have an entry for the same file, the nearest one's holds, whole.
# Without an entry, nothing is applied and nothing removed, and the compiler of the catalog warns.
#
# @example In Hiera
#   aaconverge::owner: web-fleet
#   aaconverge::profiles:
#     - file: usr.sbin.nginx
#       mode: complain
#
# @param owner
#   Who claims the entries. Another owner's are never touched.
# @param profiles
#   Files that hold profiles. Where they are Sensitive, no log and no report shows anything of the document.
# @param files
#   Files that profiles include: tunables, abstractions, additions in `local/`. They may be Sensitive, too.
# @param defaults
#   What entries are taken to say where they say nothing.
# @param classes
#   Classes of services of one's own.
# @param accept
#   What the document insists on although aa-converge objects to it.
# @param supersedes
#   Owners whose entries this one takes over.
# @param prune
#   Whether what the owner no longer lists goes from the host. Unless it is given, it does while there is an entry, so that
#   Hiera data that got lost do not empty a host.
# @param allow_empty
#   Whether `prune` may take everything. Without it, `prune` without an entry fails the run.
# @param manage_package
#   Whether the package is installed by this class.
# @param package_name
#   The package of aa-converge.
# @param package_ensure
#   What is to be installed of it.
# @param command
#   The program, where it is not in the search path.
# @param root
#   An image or a chroot in place of this host.
# @param kernel
#   Whether policy is loaded into the running kernel.
# @param lock_timeout
#   How many seconds to wait for another run to end.
class aaconverge (
  String[1] $owner = 'puppet',
  Variant[Array[Aaconverge::Profile], Sensitive[Array[Aaconverge::Profile]]] $profiles = [],
  Variant[Array[Aaconverge::File], Sensitive[Array[Aaconverge::File]]] $files = [],
  Aaconverge::Defaults $defaults = {},
  Hash[Pattern[/\A[a-z][a-z0-9-]{0,62}\z/], Hash[String[1], Data]] $classes = {},
  Array[Aaconverge::Acceptance] $accept = [],
  Array[String[1]] $supersedes = [],
  Optional[Boolean] $prune = undef,
  Boolean $allow_empty = false,
  Boolean $manage_package = true,
  String[1] $package_name = 'aa-converge',
  String[1] $package_ensure = 'installed',
  Optional[String[1]] $command = undef,
  Optional[Pattern[/\A\//]] $root = undef,
  Optional[Enum['require', 'skip']] $kernel = undef,
  Optional[Integer[0]] $lock_timeout = undef,
) {
  if $manage_package {
    package { $package_name:
      ensure => $package_ensure,
      before => Aaconverge_profiles[$owner],
    }
  }

  # Hiera puts the nearest level first, and `unique` keeps the first.
  $nearest_profiles = $profiles.unwrap.unique |$entry| { $entry['file'].lest || { $entry.dig('service', 'executable') } }
  $nearest_files = $files.unwrap.unique |$entry| { $entry['path'] }
  $nothing = $nearest_profiles.empty and $nearest_files.empty
  if $nothing and $prune =~ Undef and !$allow_empty {
    warning("aaconverge: neither profiles nor files for ${owner}: nothing is applied, and nothing removed")
  }

  $document = {
    'prune'       => $prune.lest || { !$nothing or $allow_empty },
    'allow_empty' => $allow_empty,
    'supersedes'  => $supersedes,
    'defaults'    => $defaults,
    'accept'      => $accept,
    'classes'     => $classes,
    'files'       => $nearest_files,
    'profiles'    => $nearest_profiles,
  }

  aaconverge_profiles { $owner:
    command      => $command,
    root         => $root,
    kernel       => $kernel,
    lock_timeout => $lock_timeout,
    document     => [$profiles, $files].any |$part| { $part =~ Sensitive } ? {
      true    => Sensitive($document),
      default => $document,
    },
  }
}
