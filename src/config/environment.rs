//! Options from variables: an empty variable counts as unset, and an error in a variable names the
//! variable.

use std::{collections::BTreeMap, ffi::OsString};

use clap::{
    Arg, ArgMatches, Command,
    error::{ContextKind, ContextValue, Error},
    parser::ValueSource,
};

/// The options that were read from a variable: by the option's id, the variable's name.
pub type Variables = BTreeMap<String, String>;

/// Parses `arguments` and the environment.
///
/// # Errors
/// The first option or variable that is wrong; also the help and the version.
pub fn parse(command: Command, arguments: &[OsString]) -> Result<ArgMatches, Error> {
    let without = command.clone().mut_args(|arg| arg.env(None::<&str>));
    if without.try_get_matches_from(arguments).is_err() {
        // Not that error: the help has to show the variables.
        return command.try_get_matches_from(arguments);
    }
    // The arguments are right, so an error is in a variable.
    let mut command = command.mut_args(without_empty_variable);
    let parsed = command.try_get_matches_from_mut(arguments);
    parsed.map_err(|error| name_variable(error, &command))
}

/// An empty variable comes from `${PORT}` in a compose file, `PORT=` in a settings file and so on.
fn without_empty_variable(arg: Arg) -> Arg {
    let name = arg.get_env().map(ToOwned::to_owned);
    let is_empty = |name: &OsString| std::env::var_os(name).is_some_and(|value| value.is_empty());
    if name.as_ref().is_some_and(is_empty) {
        arg.env(None::<&str>)
    } else {
        arg
    }
}

/// Puts the variable in the place of the option, which nobody typed.
fn name_variable(mut error: Error, command: &Command) -> Error {
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let named = |arg: &&Arg| arg.to_string() == *option;
    let variable = command.get_arguments().find(named).and_then(Arg::get_env);
    if let Some(variable) = variable {
        let text = format!("the variable {}", variable.to_string_lossy());
        error.insert(ContextKind::InvalidArg, ContextValue::String(text));
    }
    error
}

/// The options of `matches` that came from a variable.
pub fn variables(command: &Command, matches: &ArgMatches) -> Variables {
    let from_variable = |arg: &&Arg| {
        let source = matches.value_source(arg.get_id().as_str());
        source == Some(ValueSource::EnvVariable)
    };
    let named = |arg: &Arg| {
        let variable = arg.get_env()?.to_string_lossy().into_owned();
        Some((arg.get_id().to_string(), variable))
    };
    command
        .get_arguments()
        .filter(from_variable)
        .filter_map(named)
        .collect()
}
