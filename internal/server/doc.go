// Package server answers HTTP: /livez and /readyz for whoever restarts or waits for the
// program, /metrics for Prometheus, /status for tools and a page at / for people.
//
// [Listen] opens the port, so that a taken one is reported before any work has
// begun; [Server.Serve] then answers from a [Source]; [Probe] asks a running server,
// for container health checks without a shell.
//
// POST /tables/{table}/pause, /resume and /resnapshot steer the program. Nothing else
// changes state, and no GET does. GET /bookmarks shows where the work stands. On any address
// but loopback these need a bearer token; pages of other sites that a browser shows can
// never steer.
//
// What is served holds no token and no field of any row.
package server
