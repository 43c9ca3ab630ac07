// Package faults breaks the system while it works, and counts what became of what it had promised. See README.md.
package faults
