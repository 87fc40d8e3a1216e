// Package config reads the program's configuration from the environment, so that
// it runs unchanged in containers, under systemd and in a shell.
//
// [Config] is the whole of it: every field is one variable, and its tags are the
// variable's name, default and description. [Load] fills it and [Secret] holds
// what must never be printed. To add a variable, add a field; what can be said by
// a type or by the tags min, max and oneof is checked from there, everything that
// involves several variables is checked in check.go.
//
// # What is guaranteed
//
//   - All mistakes are reported at once, in one [Error]; each names its variable
//     and says what is accepted.
//   - Nothing is ignored in silence. An unknown variable that starts with LEVER_,
//     KAFKA_ or SCHEMA_REGISTRY_ is a mistake (most often a typo), and so is one
//     that belongs to a later version of the program (unsupported.go). Names that
//     Kubernetes injects for services of such a name are the exception.
//   - A variable that is set but empty counts as not set.
//   - Each secret X can be given as X_FILE instead: the name of a file, whose
//     trailing line break is dropped and which is read again each time the secret
//     is needed, so that a rotated secret needs no restart.
//
// # What a command needs
//
// A value that is wrong is reported to every command. Whether a variable must be
// there, and whether the files it names can be read, depends on the command: it
// tells [Load] which systems it talks to ([Need]).
package config
