# @summary A file that profiles include: a tunable, an abstraction, an addition in `local/`.
type Aaconverge::File = Struct[{
    'path'                     => String[1],
    Optional['content']        => String,
    Optional['content_base64'] => String,
    Optional['source']         => Pattern[/\A\//],
    Optional['sha256']         => Pattern[/\A\h{64}\z/],
    Optional['state']          => Enum['present', 'absent'],
}]
