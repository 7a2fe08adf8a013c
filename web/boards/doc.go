// Package boards has the boards that people arrange: tiles with values, charts, states, tables,
// alerts and texts on a grid, for everybody or for one person, and as a page for a wall.
package boards
