//! Kernels that were booted otherwise: each module here runs in a boot of its own.

/// Booted with `apparmor.mode=complain`.
mod complain {
    use serde_json::json;

    use crate::guest::{Guest, document, profile, simple};
    use crate::kernel::{self, policy, set_parameter};
    use crate::programs::Program;

    fn guest() -> Guest {
        let guest = Guest::on_any_kernel();
        kernel::unload_everything();
        assert_eq!(fs_err::read_to_string("/sys/module/apparmor/parameters/mode").unwrap(), "complain");
        guest
    }

    #[test]
    fn a_kernel_that_only_complains_is_told_and_refused_unless_accepted() {
        let guest = guest();
        let one = Program::install("one");
        let mut wanted = document(json!([simple("one")]));
        let run = guest.expect_refusal(&wanted, "kernel-global-mode");
        assert!(run.report["error"]["message"].as_str().unwrap().contains("complain"), "{run:#?}");

        wanted["accept"] = json!([{ "code": "kernel-global-mode", "reason": "rollout" }]);
        let run = guest.converge(&wanted);
        assert_eq!(run.report["kernel"]["global_mode"], "complain");
        assert!(run.warns("complain") && run.warns("rollout"), "{run:#?}");
        // The kernel shows the profile's own mode, and enforces nothing.
        assert_eq!(policy()["one"].mode, "enforce");
        assert!(one.reads("secret"));
        assert_eq!(run.entry("one")["loaded"][0]["verified"], false, "{run:#?}");

        let run = guest.apply(&wanted);
        run.expect(0);
        assert!(!run.changed());
        assert!(run.warns("complain"), "told again: {run:#?}");

        let status = guest.run(&["status", "--format", "json"], "");
        assert_eq!(status.report["kernel"]["global_mode"], "complain", "{status:#?}");
    }

    /// Policy cannot be unlocked, so this must be the last test of its boot: its name sorts behind the others'.
    #[test]
    fn zz_locked_policy_is_left_until_the_next_boot() {
        let guest = guest();
        kernel::load(&profile("one"));
        let before = policy();
        set_parameter("lock_policy", "Y");
        let run = guest.expect_refusal(&document(json!([simple("one"), simple("two")])), "policy_locked");
        assert!(run.report["error"]["remedy"].as_str().unwrap().contains("reboot"), "{run:#?}");
        assert_eq!(policy(), before);

        let run = guest.apply_with(&["--kernel", "skip"], &document(json!([simple("one"), simple("two")])));
        run.expect(0);
        assert!(guest.policy("two").exists());
        assert_eq!(policy(), before);
    }
}

/// Booted with `apparmor=0`.
mod absent {
    use serde_json::json;

    use crate::guest::{Guest, document, simple};

    #[test]
    fn a_kernel_without_apparmor_is_refused_with_a_remedy() {
        let guest = Guest::on_any_kernel();
        let wanted = document(json!([simple("one")]));
        let run = guest.expect_refusal(&wanted, "no_apparmor");
        assert!(run.report["error"]["remedy"].as_str().unwrap().contains("apparmor=1"), "{run:#?}");

        let run = guest.apply_with(&["--kernel", "skip"], &wanted);
        run.expect(0);
        assert_eq!(run.report["kernel"]["managed"], false);
        assert!(guest.policy("one").exists());

        let status = guest.run(&["status", "--format", "json"], "");
        status.expect(4);
        assert_eq!(status.report["error"]["code"], "no_apparmor");
    }
}
