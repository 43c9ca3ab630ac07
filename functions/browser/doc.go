// Package browser holds the tests of the page: Debian's Chromium, driven by its DevTools protocol, does what a person
// does, and the real program serves it. Its files have the build tag browser, so that `go test ./...` leaves them out;
// `make browser` installs what they need and runs them.
//
//	TEST_AXE     axe-core's axe.min.js, which checks every view
//	CHROMIUM     another browser than the chromium on the PATH
//	SCREENSHOTS  a folder for pictures of every view, in three widths, light and dark
//
// A test fails for whatever the browser reports of the page beside: an error on its console, an uncaught exception, a
// violation of the Content-Security-Policy.
package browser
