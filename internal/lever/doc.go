// Package lever is the HTTP client of Lever's Data API: it asks for one page of a
// list, or for one object, and returns it decoded.
//
// A Client makes one cdc.Page of one cdc.Request. Behind that stand three promises:
//
//   - The budget is kept. Lever gives a key some 10 requests a second, and what one
//     part of the program spends, another misses. So every request on the wire (first
//     tries, retries, redirects) passes one limiter: a token bucket that starts empty,
//     served in order of class, and within a class in order of arrival. Now and then a
//     token goes past the urgent classes to whoever waited longest, so nothing
//     starves. Requests in flight are as many as rate and latency make (Little's law),
//     up to Config.Concurrency: a request is sent when its token is there and never
//     earlier, so more would only wait at Lever. A 429 stops everybody for a moment. The
//     rate then goes down to what others have left of the key's budget, as far as that is
//     known, and back to the limit within about 90 seconds, slowly at first.
//   - Trouble that passes is not seen. Server errors, timeouts, broken connections and
//     answers that are not Lever's are asked for again, a few times, with growing
//     random pauses; 429 as long as the caller waits. What remains is one of the errors
//     of package cdc, by which the caller decides.
//   - Nothing leaks. Errors, logs and Stats name paths, statuses and Lever's own error
//     codes. They never hold the API key, an answer's text or a query's values, because
//     those may be about people.
//
// A Client has no goroutine of its own and needs no stopping; Close only drops idle
// connections.
package lever
