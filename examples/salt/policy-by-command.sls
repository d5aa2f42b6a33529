# The same without a module of one's own. The document goes in base64, because Salt turns the two characters \n of a
# `stdin` into a line end, and a JSON string must not hold one.
{%- set document = salt['pillar.get']('apparmor') | tojson | base64_encode %}

apparmor-policy-by-command:
  cmd.run:
    - name: base64 --decode | aa-converge apply --format salt
    - stdin: {{ document }}
    - stateful:
      - test_name: base64 --decode | aa-converge apply --format salt --check
