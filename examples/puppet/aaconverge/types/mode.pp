# @summary The mode of profiles.
type Aaconverge::Mode = Enum[
  'enforce', 'complain', 'kill', 'unconfined', 'prompt', 'default_allow', 'disabled', 'as_written'
]
