#!yaml
# The first line keeps Jinja away: `{{` and `{#` occur in policy.
apparmor:
  version: 1
  owner: web-fleet
  prune: true
  files:
    - path: local/usr.sbin.traceroute
      content: |
        # The site's own list of gateways.
        /etc/traceroute/gateways r,
  profiles:
    - file: usr.local.sbin.metrics-gateway
      content: |
        abi <abi/3.0>,
        include <tunables/global>

        profile metrics-gateway /usr/local/sbin/metrics-gateway {
          include <abstractions/base>

          /usr/local/sbin/metrics-gateway mr,
          /{{usr/,}share,srv}/metrics-gateway/** r,
          owner @{run}/metrics-gateway.pid rw,
        }
    - file: usr.sbin.traceroute
      mode: enforce
      if_missing: skip
