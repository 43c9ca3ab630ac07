// Package e2e holds the tests that run Soundstrip as its users do: the real binaries, real signals, curl and ffprobe,
// on real servers and on the laptop's embedded stores.
package e2e
