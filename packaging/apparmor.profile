# The profile that aa-converge.service runs under. It attaches to no path: who runs the program by hand, or through a
# configuration management, may name documents, images and parsers anywhere. Additions go into local/aa-converge, for
# example where a document's "source" lies elsewhere.
#
# What is confined here decides what everything else may do, so this is no wall against a malicious document. It keeps
# a defect of the program, or of the shell that starts it, from what is nobody's policy: other files, devices, the
# network, other processes. The parser, which reads what people wrote, may do nothing but read a copy of policy and write
# what it compiles.
abi <abi/3.0>,

include <tunables/global>

profile aa-converge {
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

  # The service's loop over documents.
  /{usr/,}bin/{ba,da,}sh mrix,
  /usr/bin/aa-converge mrix,
  /etc/aa-converge/{,**} r,

  # Policy, the parser's configuration, and compiled policy that a boot would load.
  /etc/apparmor.d/{,**} rw,
  /etc/apparmor/{,**} r,
  /etc/apparmor/earlypolicy/{,**} rw,
  /var/cache/apparmor/{,**} rw,
  /usr/share/apparmor{,-features}/{,**} r,
  /var/lib/dpkg/{status,info/{,**}} r,

  # What is remembered between runs.
  / r,
  /{etc,usr,var,var/cache,var/lib}/ r,
  @{run}/ r,
  /var/lib/aa-converge/{,**} rwk,
  @{run}/aa-converge/{,**} rwk,

  # Whether programs of the document are links or scripts.
  /{bin,lib*,opt,sbin,srv,usr}/{,**} r,

  # The allocator asks it.
  @{sys}/kernel/mm/transparent_hugepage/enabled r,

  # The kernel.
  @{sys}/kernel/security/{,apparmor/{,**}} r,
  @{sys}/kernel/security/apparmor/{,policy/namespaces/**/}.{load,replace,remove} w,
  @{sys}/module/apparmor/parameters/{,*} r,
  @{PROC}/{,meminfo,sys/kernel/random/boot_id} r,

  # Processes that should be confined and are not.
  @{PROC}/@{pid}/{,attr/{,apparmor/}current,cgroup,cmdline,comm,exe,gid_map,mountinfo,root,stat,status,task/{,**},uid_map} r,

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
    @{sys}/kernel/security/apparmor/{,features/{,**}} r,
    @{sys}/devices/system/cpu/{,online} r,
    @{PROC}/@{pid}/{mounts,stat,status} r,
    @{PROC}/{filesystems,meminfo} r,
  }

  include if exists <local/aa-converge>
}
