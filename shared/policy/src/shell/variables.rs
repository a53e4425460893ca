//! Variables that change what words mean, which programs run, or what programs run in turn.

/// Starts of names of which every one does.
const STARTS: &[&str] = &[
    "ANTHROPIC_",
    "BASH_FUNC_",
    "CARGO_ALIAS_",
    "CARGO_BUILD_RUSTC",
    "CLAUDE_",
    "COMPLUS_",
    "CORECLR_",
    "COR_",
    "DYLD_",
    "GIT_",
    "LD_",
    "LESS",
    "LUA_INIT",
    "MALLOC_",
    "NPM_CONFIG_",
    "RUSTC",
    "YARN_",
];

/// Ends of such names.
const ENDS: &[&str] = &[
    "_ASKPASS", "_EDITOR", "_LINKER", "_OPTIONS", "_OPTS", "_PAGER", "_RUNNER",
];

/// Names with such a start or end that say nothing of programs.
const HARMLESS: &[&str] = &[
    "GIT_AUTHOR_DATE",
    "GIT_AUTHOR_EMAIL",
    "GIT_AUTHOR_NAME",
    "GIT_COMMITTER_DATE",
    "GIT_COMMITTER_EMAIL",
    "GIT_COMMITTER_NAME",
    "GIT_LFS_SKIP_SMUDGE",
    "GIT_LITERAL_PATHSPECS",
    "GIT_OPTIONAL_LOCKS",
    "GIT_TERMINAL_PROMPT",
    "LESSCHARSET",
    "NPM_CONFIG_LOGLEVEL",
];

/// Such names.
const NAMES: &[&str] = &[
    "AWKLIBPATH",
    "AWS_CONFIG_FILE",
    "BASHOPTS",
    "BASH_ALIASES",
    "BASH_CMDS",
    "BASH_ENV",
    "BAT_CONFIG_PATH",
    "BROWSER",
    "CARGO_HOME",
    "CDPATH",
    "CURL_HOME",
    "CVS_RSH",
    "DOCKER_CONFIG",
    "DOCKER_HOST",
    "DOTNET_STARTUP_HOOKS",
    "EDITOR",
    "ENV",
    "ERL_AFLAGS",
    "ERL_FLAGS",
    "ERL_ZFLAGS",
    "EXINIT",
    "FCEDIT",
    "FPATH",
    "FZF_DEFAULT_COMMAND",
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "GLOBIGNORE",
    "GNUMAKEFLAGS",
    "GOENV",
    "GOFLAGS",
    "GOTOOLCHAIN",
    "GTK_MODULES",
    "HGEDITOR",
    "HOME",
    "IFS",
    "INPUTRC",
    "KUBECONFIG",
    "LESS",
    "LOCPATH",
    "MAKEFILES",
    "MAKEFLAGS",
    "MANPAGER",
    "MANROFFOPT",
    "MORE",
    "MYSQL_HOME",
    "MYVIMRC",
    "NETRC",
    "NODE_REPL_EXTERNAL_MODULE",
    "OPENSSL_CONF",
    "OPENSSL_ENGINES",
    "PAGER",
    "PATH",
    "PERL5DB",
    "PERL5LIB",
    "PERL5OPT",
    "PGSERVICEFILE",
    "PHPRC",
    "PHP_INI_SCAN_DIR",
    "PROMPT_COMMAND",
    "PS0",
    "PS4",
    "PSQLRC",
    "PYTHONBREAKPOINT",
    "PYTHONHOME",
    "PYTHONINSPECT",
    "PYTHONSTARTUP",
    "PYTHONUSERBASE",
    "PYTHONWARNINGS",
    "QT_PLUGIN_PATH",
    "RIPGREP_CONFIG_PATH",
    "RSYNC_RSH",
    "RUBYLIB",
    "RUBYOPT",
    "R_ENVIRON",
    "R_PROFILE",
    "SHELL",
    "SHELLOPTS",
    "SSLKEYLOGFILE",
    "VIMINIT",
    "VISUAL",
    "WGETRC",
    "XDG_CONFIG_DIRS",
    "XDG_CONFIG_HOME",
    "ZDOTDIR",
];

/// Programs that may show text or take the place of an editor: they only print or do nothing.
const PRINTING: &[&str] = &["", ":", "cat", "true"];

/// Whether this variable changes what programs do. Not where it only names a program of those that
/// print or do nothing (`PAGER=cat`), or how much memory there is.
pub(crate) fn changes_programs(name: &str, value: Option<&str>) -> bool {
    let upper = name.to_ascii_uppercase();
    let upper = upper.as_str();
    if HARMLESS.contains(&upper) {
        return false;
    }
    let names_program = upper.ends_with("PAGER") || upper.ends_with("EDITOR") || upper == "VISUAL";
    if names_program && value.is_some_and(|value| PRINTING.contains(&value)) {
        return false;
    }
    let is_memory = |value: &str| {
        let number = value.strip_prefix("--max-old-space-size=");
        number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    if upper == "NODE_OPTIONS" && value.is_some_and(is_memory) {
        return false;
    }
    // Some programs take names in small letters (`npm_config_…`), shells none.
    NAMES.contains(&name)
        || STARTS.iter().any(|start| upper.starts_with(start))
        || ENDS.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_programs_is_told_from_what_does_not() {
        for name in [
            "GIT_SSH_COMMAND",
            "LD_PRELOAD",
            "npm_config_script_shell",
            "MAVEN_OPTS",
            "PS4",
        ] {
            assert!(changes_programs(name, Some("x")), "{name}");
        }
        for (name, value) in [
            ("GIT_AUTHOR_NAME", "x"),
            ("PAGER", "cat"),
            ("GIT_EDITOR", "true"),
            ("NODE_OPTIONS", "--max-old-space-size=4096"),
            ("home", "x"),
            ("FOO", "x"),
        ] {
            assert!(!changes_programs(name, Some(value)), "{name}");
        }
    }
}
