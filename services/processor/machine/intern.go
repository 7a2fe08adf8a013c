package machine

import "strings"

// shared holds texts that many series have in common.
type shared map[string]*string

// intern returns a copy of the text that all series with the same text share. There
// are few units and names of metrics; if a device invents more than maxShared, each of
// the rest has memory of its own.
func (x shared) intern(text string) *string {
	known := x[text]
	if known == nil {
		known = new(strings.Clone(text))
		if len(x) < maxShared {
			x[*known] = known
		}
	}
	return known
}
