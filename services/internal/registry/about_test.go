package registry

import (
	"errors"
	"sync"
	"testing"

	"headwater/services/internal/about"
	"headwater/streams"
	"headwater/streams/streamtest"
)

// TestWhatPeopleSayIsKept has several people say something about one device at once, and then
// nothing any more.
func TestWhatPeopleSayIsKept(t *testing.T) {
	s := streamtest.Run(t)
	s.Ensure(t, 1)
	js := s.JS(t)
	names := []string{"a", "b", "c", "d", "e"}
	var people sync.WaitGroup
	for _, name := range names {
		people.Go(func() {
			_, err := SetAbout(t.Context(), js, "hall", "door-1", func(a about.About) (about.About, error) {
				return a.Under(about.About{Tags: map[string]string{name: "1"}}), nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	people.Wait()
	a, err := About(t.Context(), js, "hall", "door-1")
	if err != nil || len(a.Tags) != len(names) {
		t.Fatalf("%+v, %v", a, err)
	}
	no := errors.New("no")
	if _, err := SetAbout(t.Context(), js, "hall", "door-1", func(a about.About) (about.About, error) { return about.About{}, no }); !errors.Is(err, no) {
		t.Errorf("the error of a change is lost: %v", err)
	}
	said, err := SetAbout(t.Context(), js, "hall", "door-1", func(about.About) (about.About, error) { return about.About{}, nil })
	if err != nil || !said.Before.Equal(a) || !said.After.Empty() {
		t.Errorf("%+v, %v", said, err)
	}
	if a, err := About(t.Context(), js, "hall", "door-1"); err != nil || !a.Empty() {
		t.Errorf("%+v, %v", a, err)
	}

	// What cannot be read says nothing, and can be replaced.
	kv, err := js.KeyValue(t.Context(), streams.BucketAbout)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.PutString(t.Context(), streams.AboutKey("hall", "door-1"), `{"precision":`); err != nil {
		t.Fatal(err)
	}
	said, err = SetAbout(t.Context(), js, "hall", "door-1", func(a about.About) (about.About, error) {
		a.Name = "Door"
		return a, nil
	})
	if err != nil || said.After.Name != "Door" {
		t.Errorf("%+v, %v", said, err)
	}
}
