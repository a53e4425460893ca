//! What a command starts, in cases that the table of commands does not show.

use super::*;

fn shown(command: &str) -> String {
    parse(command).summary()
}

#[test]
fn here_documents_and_redirections() {
    let parsed = parse("cat <<'A' <<B > out 2>> err\n$(x)\nA\n$(date)\nB\nls");
    assert_eq!(
        shown("cat <<'A' <<B > out 2>> err\n$(x)\nA\n$(date)\nB\nls"),
        "date; cat >out >err; ls"
    );
    let cat = &parsed.programs[1];
    assert_eq!(cat.redirections.len(), 2);
    assert_eq!(cat.input, Input::Partly("$_unknown_\n".to_owned()));
    assert_eq!(parsed.programs[0].within, [Within::Substitution]);
}

#[test]
fn a_delimiter_without_quotes_is_expanded_whatever_it_looks_like() {
    for command in ["cat <<~a!\n$(id)\n~a!\n", "cat <<a\\b\n$(id)\nab\n"] {
        let parsed = parse(command);
        let quoted = command.contains('\\');
        let expanded = parsed.programs.iter().any(|started| started.name == "id");
        assert_eq!(expanded, !quoted, "{command:?}: {}", parsed.summary());
    }
}

#[test]
fn arithmetic_is_not_a_subshell() {
    assert_eq!(shown("((i++)); echo $((i * (2 + 3)))"), "echo(…)");
    assert_eq!(shown("((a); (b))"), "a; b");
    assert_eq!(shown("( (a) )"), "a");
    assert_eq!(shown("for ((i = 0; i < 3; i++)); do a; done"), "a");
    assert_eq!(shown("for ((i = 0; i < 3; i++)) do a; done"), "a");
}

#[test]
fn variables_are_followed_as_far_as_they_are_certain() {
    assert_eq!(shown("x=a; b $x"), "x=a; b(a)");
    assert_eq!(shown("x=a; x=c; b $x"), "x=a; x=c; b(c)");
    assert_eq!(shown("b $x; x=a"), "b(a, …); x=a");
    assert_eq!(shown("true && x=a; b $x"), "true; x=a; b(a, …)");
    assert_eq!(
        shown("x=a; if c; then x=b; fi; d $x"),
        "x=a; c; x=b; d(a, b, …)"
    );
    assert_eq!(shown("x='a b'; c $x \"$x\""), "x=a b; c(a, b, a b)");
    assert_eq!(shown("x=a; sh -c 'b $x'"), "x=a; sh > b(a, …)");
    assert_eq!(shown("read x; b $x"), "read(x); b(…)");
    assert_eq!(shown("x=a; x+=b; c $x"), "x=a; x=ab; c(ab)");
    assert_eq!(shown("x='a b'; y=$x; c \"$y\""), "x=a b; y=a b; c(a b)");
    assert_eq!(
        shown("f() { b \"$1\"; }; f a; f c"),
        "b(a); f(a); b(c); f(c)"
    );
    assert_eq!(shown("b \"$(echo a c)\""), "echo(a, c); b(a c)");
    assert_eq!(shown("b ${x:-a}"), "b(a, …)");
}

#[test]
fn directories_are_followed_as_far_as_they_are_certain() {
    let directory = |command: &str| {
        parse(command)
            .programs
            .last()
            .map(|started| started.directory.clone())
    };
    let known = |ways: &[&[&str]]| {
        let ways = ways
            .iter()
            .map(|steps| steps.iter().map(ToString::to_string).collect());
        Some(Directory::Known(ways.collect()))
    };
    assert_eq!(directory("cd a && b"), known(&[&["a"]]));
    assert_eq!(directory("cd a; b"), known(&[&[], &["a"]]));
    assert_eq!(directory("cd a || b"), known(&[&[], &["a"]]));
    assert_eq!(directory("cd /a && cd b && c"), known(&[&["/a", "b"]]));
    assert_eq!(directory("(cd a); b"), known(&[&[]]));
    assert_eq!(directory("cd $x && b"), Some(Directory::Unknown));
    let partly = Directory::Partly(vec![Vec::new()]);
    assert_eq!(directory("cd $x; b"), Some(partly));
    assert_eq!(directory("f() { cd /a; }; f && b"), known(&[&[], &["/a"]]));
    assert_eq!(
        directory("x=/a; if c; then x=/b; fi; cd $x && d"),
        Some(Directory::Partly(vec![
            vec!["/a".to_owned()],
            vec!["/b".to_owned()]
        ]))
    );
}

#[test]
fn what_cannot_be_read_is_said() {
    for command in [
        "if",
        "a (b",
        "'",
        "\"$(",
        "${x",
        "a )",
        "<",
        "a | | b",
        "a ;; b",
        "echo $[1]",
        "echo ${x:-'a'}",
    ] {
        let parsed = parse(command);
        assert!(
            !parsed.unclear.is_empty(),
            "{command:?}: {}",
            parsed.summary()
        );
    }
    assert_eq!(parse("").summary(), "");
    assert_eq!(parse("# nothing").summary(), "");
}

#[test]
fn what_fuzzing_found_is_answered() {
    for command in [
        "${".repeat(20_000),
        "${a[".repeat(16_000),
        "`".repeat(40_000),
        "{99999999999999999999..1}".repeat(2_600),
        "~99999999999999999999".to_owned(),
        "99999999999999999999>x".to_owned(),
        "tar".to_owned(),
    ] {
        let _ = parse(&command).summary();
    }
    assert_eq!(shown("x=(a=$(b))"), "b; x=…");
    assert_eq!(shown("rm${IFS}-rf${IFS}/"), "rm(-rf, /)");
}
