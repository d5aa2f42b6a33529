# The profile that aa-converge.service runs under. It attaches to no path: who runs the program by hand, or through a
# configuration management, may name documents, images and parsers anywhere. Additions go into local/aa-converge.
#
# What is confined here decides what everything else may do, and it reads nearly every file, so this is no wall against a
# malicious document. It keeps a defect of the program, or of the shell that starts it, from writing what is no policy, from
# running other programs, from devices and from the network, and from reading passwords and private keys. The parser, which
# reads what people wrote, may do nothing but read policy and write what it compiles.
abi <abi/3.0>,

include <tunables/global>

# The kernel shows policy in a file system that is mounted nowhere, whose files have disconnected paths.
profile aa-converge flags=(attach_disconnected) {
  include <abstractions/base>

  # Loading policy, and seeing what processes of other users run and what confines them.
  capability mac_admin,
  capability sys_ptrace,
  ptrace (read),
  # Files in the policy directory may be somebody else's, and stay so.
  capability chown,
  capability dac_override,
  capability dac_read_search,
  capability fowner,

  # Limits for the parser, which has another profile (aa_task_setrlimit in the kernel's security/apparmor/resource.c). It
  # is the profile alone that is asked, so the service is without the capability itself.
  capability sys_resource,

  # Whatever runs may be a script, whose first line names its interpreter; a document's "source" may be anywhere.
  /{,**} r,
  # Nothing of policy is in these, whatever names them.
  deny /etc/{,g}shadow{,-} r,
  deny /etc/ssh/ssh_host_*_key r,
  deny /etc/ssl/private/{,**} r,
  deny @{HOME}/.{gnupg,ssh}/{,**} r,

  # The service's loop over documents.
  /{usr/,}bin/{ba,da,}sh mrix,
  /usr/bin/aa-converge mrix,

  # Policy, and compiled policy that a boot would load.
  /etc/apparmor.d/** rw,
  /etc/apparmor/earlypolicy/{,**} rw,
  /var/cache/apparmor/{,**} rw,
  @{sys}/kernel/security/apparmor/{,policy/namespaces/**/}.{replace,remove} w,

  # What is remembered between runs.
  /var/lib/aa-converge/{,**} rwk,
  @{run}/aa-converge/{,**} rwk,

  # What `--check` and `status` compile, as they leave everything else untouched.
  owner /{,var/}tmp/aa-converge-*/{,**} rw,

  /{usr/,}sbin/apparmor_parser cx -> parser,
  signal (send) peer=aa-converge//parser,

  profile parser {
    include <abstractions/base>

    signal (receive) peer=aa-converge,

    /{usr/,}sbin/apparmor_parser mr,
    /etc/apparmor/{,**} r,
    /etc/apparmor.d/{,**} r,
    /usr/share/apparmor{,-features}/{,**} r,
    @{run}/aa-converge/{,**} rw,
    owner /{,var/}tmp/aa-converge-*/{,**} rw,
    @{sys}/kernel/security/apparmor/{,features/{,**}} r,
    @{sys}/devices/system/cpu/{,online} r,
    @{sys}/kernel/mm/transparent_hugepage/{enabled,hpage_pmd_size} r,
    @{PROC}/@{pid}/{mounts,stat,status} r,
    @{PROC}/{filesystems,meminfo,sys/kernel/osrelease} r,
  }

  include if exists <local/aa-converge>
}
