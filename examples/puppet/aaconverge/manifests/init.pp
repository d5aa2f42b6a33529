# @summary AppArmor policy of a host, from Hiera.
#
# The parameters are the fields of aa-converge's document, which `aa-converge schema document` describes. Lists of several
# levels of Hiera are put together.
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
#   Files that hold profiles.
# @param files
#   Files that profiles include: tunables, abstractions, additions in `local/`.
# @param defaults
#   What entries are taken to say where they say nothing.
# @param classes
#   Classes of services of one's own.
# @param accept
#   What the document insists on although aa-converge objects to it.
# @param supersedes
#   Owners whose entries this one takes over.
# @param prune
#   Whether what the owner no longer lists goes from the host.
# @param allow_empty
#   Whether `prune` may take everything. Without it, Hiera data that got lost fails the run instead.
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
  Array[Aaconverge::Profile] $profiles = [],
  Array[Aaconverge::File] $files = [],
  Aaconverge::Defaults $defaults = {},
  Hash[Pattern[/\A[a-z][a-z0-9-]{0,62}\z/], Hash[String[1], Data]] $classes = {},
  Array[Aaconverge::Acceptance] $accept = [],
  Array[String[1]] $supersedes = [],
  Boolean $prune = true,
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

  aaconverge_profiles { $owner:
    command      => $command,
    root         => $root,
    kernel       => $kernel,
    lock_timeout => $lock_timeout,
    document     => {
      'prune'       => $prune,
      'allow_empty' => $allow_empty,
      'supersedes'  => $supersedes,
      'defaults'    => $defaults,
      'accept'      => $accept,
      'classes'     => $classes,
      'files'       => $files,
      'profiles'    => $profiles,
    },
  }
}
