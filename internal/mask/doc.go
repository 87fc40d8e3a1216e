// Package mask leaves fields out of rows, or replaces them by a hash, before anything
// else looks at the rows.
//
// Rules are written as paths: a table and the names of fields, separated by dots, each
// with shell wildcards (opportunities.phones.value, *.emails, candidate_*.name). A list
// of records is transparent. A path means everything under it. @pii stands for every
// field that the schemas tag as a person's data, in all tables or, as users.@pii, in one.
//
// [Match] finds the fields that patterns mean, and says what is wrong with them; [New]
// makes the [Rules]; [Table.Apply] is what they do to a record.
//
// # What is guaranteed
//
//   - A value that a rule leaves out does not come out of Apply, whatever its shape: where
//     a rule reaches into a field and the value is no object or list of objects, the whole
//     value is left out.
//   - A hash is HMAC-SHA-256 in hexadecimal. Equal text has equal hashes, in all tables,
//     as long as the key stays; without the key nobody can try out names or addresses.
//     Text that is empty stays empty, and null stays null.
//   - What is not text (numbers, times, booleans) cannot hold a hash. Named by its path
//     that is an error; under a wildcard, @pii or a hashed record it is left out.
//   - Primary keys, the ids of parents, and isAnonymized (which erasure depends on) stay:
//     naming them is an error, wildcards pass over them.
//   - _extra, where unknown fields go, can be left out, and is under @pii. Then fields that
//     the schema does not know are left out wherever they are.
package mask
