use proptest::prelude::*;

use super::*;

const STAGE: &str = "/run/aa-converge/spool/stage";

fn source(file: &Path) -> Source<'_> {
    Source { program: Path::new("/usr/sbin/apparmor_parser"), stage: Path::new(STAGE), file }
}

fn read(output: &str) -> (String, String, Option<u32>) {
    let error = first_error(output.as_bytes(), source(Path::new("/etc/apparmor.d/p"))).unwrap();
    (error.message, error.file.unwrap().to_str().unwrap().to_owned(), error.line)
}

#[test]
fn places_are_told_with_real_paths() {
    let cases = [
        (
            "AppArmor parser error for S/etc/apparmor.d/p in profile S/etc/apparmor.d/p at line 3: syntax error\n",
            ("syntax error", "/etc/apparmor.d/p", Some(3)),
        ),
        (
            "AppArmor parser error for S/etc/apparmor.d/p in profile S/etc/apparmor.d/local/p at line 2: Could not open 'S/srv/x'\n",
            ("Could not open '/srv/x'", "/etc/apparmor.d/local/p", Some(2)),
        ),
        ("AppArmor parser error for S/etc/apparmor.d/p at line 7: bad\n", ("bad", "/etc/apparmor.d/p", Some(7))),
        ("AppArmor parser error, in /etc/x line 8: bad\n", ("bad", "/etc/x", Some(8))),
        ("AppArmor parser error, line 8: bad\n", ("bad", "/etc/apparmor.d/p", Some(8))),
        (
            "Warning converted to Error from S/etc/apparmor.d/p (S/etc/apparmor.d/a/b line 4): dangerous\n",
            ("dangerous", "/etc/apparmor.d/a/b", Some(4)),
        ),
        // The words around a place may stand in a name and in a text.
        (
            "AppArmor parser error for S/etc/apparmor.d/p in profile /a at line b at line 3: at line 4: x\n",
            ("at line 4: x", "/a at line b", Some(3)),
        ),
        ("AppArmor parser error for S/etc/apparmor.d/p in profile /a at line 99999999999: x\n", ("x", "/a", None)),
    ];
    for (output, (message, file, line)) in cases {
        let output = output.replace("S/", &format!("{STAGE}/"));
        assert_eq!(read(&output), (message.to_owned(), file.to_owned(), line), "{output}");
    }
}

#[test]
fn a_placed_error_is_preferred_to_what_precedes_it() {
    let output = "'A' is already defined\nAppArmor parser error for /etc/apparmor.d/p in profile /etc/apparmor.d/p at line 3: variable @{A} was previously declared\n";
    assert_eq!(
        read(output),
        ("variable @{A} was previously declared".to_owned(), "/etc/apparmor.d/p".to_owned(), Some(3))
    );
}

#[test]
fn lines_without_a_place_are_told_together() {
    let output = "\n/usr/sbin/apparmor_parser: Regex grouping error: Unclosed grouping\n\
                  /usr/sbin/apparmor_parser: Unable to parse input line '/a{b'\n\
                  ERROR processing regexs for profile x, failed to load\n";
    let message = "Regex grouping error: Unclosed grouping; Unable to parse input line '/a{b'; \
                   ERROR processing regexs for profile x, failed to load";
    assert_eq!(read(output), (message.to_owned(), "/etc/apparmor.d/p".to_owned(), None));
}

#[test]
fn noise_is_not_an_error() {
    let noise = "Cache read/write disabled: interface file missing. (Kernel needs AppArmor 2.4 compatibility patch.)\n\
                 Warning: found p in /x/force-complain, forcing complain mode\n\
                 Warning from /x (/x line 3): dbus rules not enforced\n\
                 /usr/sbin/apparmor_parser: unknown option (frob) in config file.\n\n";
    assert_eq!(first_error(noise.as_bytes(), source(Path::new("/p"))), None);
    assert_eq!(read(&format!("{noise}bad\n")).0, "bad");
}

#[test]
fn other_encodings_and_control_characters_are_shown_as_replaced() {
    let error = first_error(b"at '\xe9\x1b[31m\x07'\n", source(Path::new("/p"))).unwrap();
    assert_eq!(error.message, "at '\u{fffd}\u{fffd}[31m\u{fffd}'");
    let long = first_error("é".repeat(5000).as_bytes(), source(Path::new("/p"))).unwrap();
    assert_eq!(long.message.chars().count(), LONGEST_MESSAGE + 1);
}

proptest! {
    #[test]
    fn any_bytes_give_a_plain_message(
        parts in proptest::collection::vec(
            prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..20),
                Just(b"AppArmor parser error for ".to_vec()),
                Just(b"AppArmor parser error,".to_vec()),
                Just(b"Warning converted to Error from ".to_vec()),
                Just(b" in profile ".to_vec()),
                Just(b" at line 3: ".to_vec()),
                Just(b" line 4): ".to_vec()),
                Just(b"/run/aa-converge/spool/stage/p".to_vec()),
                Just(b"\n".to_vec()),
            ],
            0..12,
        )
    ) {
        if let Some(error) = first_error(&parts.concat(), source(Path::new("/p"))) {
            prop_assert!(!error.message.is_empty());
            prop_assert!(!error.message.chars().any(char::is_control));
            prop_assert!(error.message.chars().count() <= LONGEST_MESSAGE + 1);
        }
    }
}
