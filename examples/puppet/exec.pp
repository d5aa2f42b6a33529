# AppArmor policy without a type of one's own: the document is a file, and aa-converge itself says whether it is in sync.
# With --noop, `unless` looks at the document that is still there: a changed one shows as a change of the file alone.
file {
  default:
    owner => 'root',
    group => 'root';
  '/etc/aa-converge':
    ensure => directory,
    mode   => '0700';
  '/etc/aa-converge/policy.json':
    ensure => file,
    mode   => '0600',
    source => 'puppet:///modules/site/policy.json';
}

exec { 'aa-converge':
  command   => 'aa-converge apply --format text /etc/aa-converge/policy.json',
  # 0 is in sync, 2 is not; with any other the command runs and shows its error.
  unless    => 'aa-converge apply --check --detailed-exitcodes /etc/aa-converge/policy.json',
  path      => ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'],
  logoutput => true,
  require   => File['/etc/aa-converge/policy.json'],
}
