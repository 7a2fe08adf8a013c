// Package edges is about the edges of this centre: which there are, how far each has sent,
// and what that saved.
package edges
