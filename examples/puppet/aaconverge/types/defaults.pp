# @summary What entries are taken to say where they say nothing.
type Aaconverge::Defaults = Struct[{
    Optional['mode']        => Aaconverge::Mode,
    Optional['on_confined'] => Aaconverge::OnConfined,
}]
