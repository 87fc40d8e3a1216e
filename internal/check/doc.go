// Package check is the preflight: it looks at everything that a producer needs and
// says, in a line each, whether it is there and what to do if it is not.
//
// [Run] makes the checks and returns their [Result]s. Nothing is changed anywhere, and a
// producer that runs is not disturbed: topics are looked at, not created; the rights on
// the transactional id are tried with a request that the broker refuses in any case;
// schemas are looked up, not registered; Lever is asked once per endpoint for a single
// record.
package check
