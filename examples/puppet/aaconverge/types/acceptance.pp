# @summary Something that aa-converge objects to and that the document accepts.
type Aaconverge::Acceptance = Struct[{
    'code'   => String[1],
    'reason' => String[1],
}]
