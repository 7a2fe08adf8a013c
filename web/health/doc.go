// Package health has the page that says which sensors can be believed, and the pure function
// that decides it from what is known of a device.
package health
