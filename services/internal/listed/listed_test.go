package listed_test

import (
	"errors"
	"strings"
	"testing"

	"headwater/services/internal/listed"
)

type item struct{ ID string }

func (i item) Validate() error {
	if i.ID == "" {
		return errors.New("id must not be empty")
	}
	return nil
}

func TestDecode(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`[]`:                                 `0`,
		`[{"ID":"a"},{"ID":"b"}]`:            `2`,
		`[{"ID":"a"},{"ID":"a"}]`:            `thing "a" occurs twice`,
		`[{"ID":"a"},{"ID":""}]`:             `thing "": id must not be empty`,
		`[{"ID":"a"},{"ID":"b"},{"ID":"c"}]`: `3 things, at most 2`,
		`{`:                                  `decode things`,
	} {
		all, err := listed.Decode([]byte(text), "thing", 2, func(i item) string { return i.ID })
		got := string(rune('0' + len(all)))
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	if body, err := listed.Encode[item](nil); err != nil || string(body) != "[]" {
		t.Errorf("%s %v", body, err)
	}
}
