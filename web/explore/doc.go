// Package explore is the page on which any series are put on charts, over any period. Its
// address says all of it.
package explore
