// Package change turns what was read of Lever into change events, by comparing it
// with what was emitted before. It is pure: it reads the last emitted rows through
// an interface, writes nothing, and knows neither Lever nor Kafka.
//
// A [Group] takes units one after another and collects, for one transaction, the
// [Event]s, the new state records and the dead letters. What a unit in the group has
// changed is seen by the units after it.
//
// # Rules
//
//   - Equal rows make no event. A row is encoded once; equality is that of its bytes.
//   - An older read never overwrites a newer one. A [Memory] keeps, for every row and
//     list that was written, when that answer arrived; an answer to a request that was
//     sent before is refused if it differs, and must be read again.
//   - A row is deleted only if its unit names it as gone. A complete list that lacks a
//     known row is not enough: the row is reported as missing, to be confirmed.
//   - A child belongs to the parent that served it first. Other parents that serve the
//     same row are noted as claimants; when the owner lets go, the row moves to one of
//     them by an update.
//   - A deleted parent takes its children with it, in the same transaction.
//   - Rows of or under an anonymised record are never updated but deleted and created,
//     so that no later event repeats the person's data in its before.
package change
