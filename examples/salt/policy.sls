# AppArmor policy as the pillar says at `apparmor`, by the state module in _states/.
apparmor-policy:
  aa_converge.applied:
    - document_pillar: apparmor
