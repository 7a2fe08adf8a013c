// Package listed stores a list of things that have ids as one JSON document, so that a change of
// any of them is a change of all.
package listed

import (
	"encoding/json"
	"fmt"
)

// Item is a thing of a list. Validate returns what is wrong with it by itself.
type Item interface{ Validate() error }

// Encode encodes a list for storage.
func Encode[T Item](all []T) ([]byte, error) {
	if all == nil {
		all = []T{}
	}
	return json.Marshal(all)
}

// Decode decodes what Encode returned. It refuses a list of more than that many, one with a
// wrong item, and one with an id twice. The name of an item, in the singular, is for errors.
func Decode[T Item](content []byte, name string, most int, id func(T) string) ([]T, error) {
	var all []T
	if err := json.Unmarshal(content, &all); err != nil {
		return nil, fmt.Errorf("decode %ss: %w", name, err)
	}
	if len(all) > most {
		return nil, fmt.Errorf("%d %ss, at most %d", len(all), name, most)
	}
	known := make(map[string]bool, len(all))
	for _, item := range all {
		if err := item.Validate(); err != nil {
			return nil, fmt.Errorf("%s %q: %w", name, id(item), err)
		}
		if known[id(item)] {
			return nil, fmt.Errorf("%s %q occurs twice", name, id(item))
		}
		known[id(item)] = true
	}
	return all, nil
}
