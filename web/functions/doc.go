// Package functions is about the code that people deploy: which versions there are, which
// runs, and how it does.
package functions
