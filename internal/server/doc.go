// Package server serves the program's health over HTTP: /livez and /readyz for
// whoever restarts or waits for it, /status for people and tools.
//
// [Listen] opens the port, so that a taken one is reported before any work has
// begun; [Server.Serve] then answers from a [Health]; [Probe] asks a running server,
// for container health checks without a shell. POST /tables/{table}/pause, /resume and
// /resnapshot steer the program; that is the only thing that changes state, and needs a
// bearer token on any address but loopback.
package server
