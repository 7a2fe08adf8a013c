// Package arch holds no code: its test keeps the architecture. Who may import
// whom, which packages are pure, and where a subject may be spelled out are
// rules over all modules at once, which no linter of one module can see.
package arch
