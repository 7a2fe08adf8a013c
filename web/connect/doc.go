// Package connect is the page on which somebody connects a device: what to enter there,
// and what has come of it so far.
package connect
