// Package server serves the program's health over HTTP: /livez and /readyz for
// whoever restarts or waits for it, /status for people and tools.
//
// [Listen] opens the port, so that a taken one is reported before any work has
// begun; [Server.Serve] then answers from a [Health]; [Probe] asks a running server,
// for container health checks without a shell. Nothing here changes state: only GET
// and HEAD are answered, so no token is needed on any address.
package server
