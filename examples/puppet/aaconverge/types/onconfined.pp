# @summary What to do when profiles that leave the kernel confine running processes.
type Aaconverge::OnConfined = Enum['refuse', 'unload']
