package function

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/streams"
)

// Store is the bucket of the functions and their code. Any number of goroutines may use it.
type Store struct{ JS jetstream.JetStream }

// Bucket opens the bucket.
func (s Store) Bucket(ctx context.Context) (jetstream.KeyValue, error) {
	bucket, err := s.JS.KeyValue(ctx, streams.BucketFunctions)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", streams.BucketFunctions, err)
	}
	return bucket, nil
}

// Read reads a value into v and returns its revision, 0 if there is none.
func Read(ctx context.Context, bucket jetstream.KeyValue, key string, v any) (uint64, error) {
	entry, err := bucket.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read %s of bucket %s: %w", key, streams.BucketFunctions, err)
	}
	if err := json.Unmarshal(entry.Value(), v); err != nil {
		return 0, fmt.Errorf("decode %s of bucket %s: %w", key, streams.BucketFunctions, err)
	}
	return entry.Revision(), nil
}

// code opens the store of the code.
func (s Store) code(ctx context.Context) (jetstream.ObjectStore, error) {
	store, err := s.JS.ObjectStore(ctx, streams.StoreFunctions)
	if err != nil {
		return nil, fmt.Errorf("open object store %s: %w", streams.StoreFunctions, err)
	}
	return store, nil
}

// Code reads the code of a version.
func (s Store) Code(ctx context.Context, v Version) ([]byte, error) {
	store, err := s.code(ctx)
	if err != nil {
		return nil, err
	}
	code, err := store.GetBytes(ctx, v.Code)
	if err != nil {
		return nil, fmt.Errorf("read code %s: %w", v.Code, err)
	}
	if Sum(code) != v.Code {
		return nil, fmt.Errorf("read code %s: it is damaged", v.Code)
	}
	return code, nil
}

// changeAttempts is how often a change is tried while others change the same function.
const changeAttempts = 5

func (s Store) change(ctx context.Context, name string, change func(*Function) error) (Function, error) {
	if !streams.ValidToken(name) {
		return Function{}, fmt.Errorf("%w: a name is 1 to 64 letters, digits, hyphens or underscores", ErrDraft)
	}
	bucket, err := s.Bucket(ctx)
	if err != nil {
		return Function{}, err
	}
	for range changeAttempts {
		var f Function
		revision, err := Read(ctx, bucket, streams.FunctionKey(name), &f)
		if err == nil {
			err = change(&f)
		}
		if err != nil {
			return Function{}, err
		}
		body, err := json.Marshal(f)
		if err != nil {
			return Function{}, fmt.Errorf("encode function %s: %w", name, err)
		}
		// A revision of 0 also creates what was deleted before.
		if revision == 0 {
			_, err = bucket.Create(ctx, streams.FunctionKey(name), body)
		} else {
			_, err = bucket.Update(ctx, streams.FunctionKey(name), body, revision)
		}
		if err == nil {
			return f, nil
		}
		if !streams.IsConflict(err) {
			return Function{}, fmt.Errorf("store function %s: %w", name, err)
		}
	}
	return Function{}, fmt.Errorf("function %s is being changed by others", name)
}

// Deploy adds a version, and the function if there is none. Code is nil for a worker.
func (s Store) Deploy(ctx context.Context, name string, v Version, code []byte, state State) (Function, error) {
	if v.Kind == Wasm {
		if err := CheckCode(code); err != nil {
			return Function{}, err
		}
		v.Code, v.Size = Sum(code), len(code)
	}
	trial := v
	trial.Limits = v.Limits.WithDefaults()
	if err := trial.Validate(); err != nil {
		return Function{}, err
	}
	if v.Kind == Wasm {
		store, err := s.code(ctx)
		if err != nil {
			return Function{}, err
		}
		// The same code may be there already, and then stays as it is.
		if _, err := store.GetInfo(ctx, v.Code); errors.Is(err, jetstream.ErrObjectNotFound) {
			_, err = store.PutBytes(ctx, v.Code, code)
			if err != nil {
				return Function{}, fmt.Errorf("store the code of %s: %w", name, err)
			}
		} else if err != nil {
			return Function{}, fmt.Errorf("look for the code of %s: %w", name, err)
		}
	}
	all, err := s.All(ctx)
	if err != nil {
		return Function{}, err
	}
	f, err := s.change(ctx, name, func(f *Function) error {
		if f.Name == "" {
			if len(all) >= streams.MaxFunctions {
				return fmt.Errorf("%w: there are %d functions already, which is the most", ErrDraft, len(all))
			}
			f.Name = name
		}
		_, err := f.add(v, state)
		return err
	})
	return f, errors.Join(err, s.prune(ctx))
}

// SetState puts a version into a state.
func (s Store) SetState(ctx context.Context, name string, number int, state State) (Function, error) {
	return s.change(ctx, name, func(f *Function) error {
		if f.Name == "" {
			return fmt.Errorf("%w: %s", ErrNone, name)
		}
		return f.set(number, state)
	})
}

// Remove deletes a function with all its versions. Its service removes its state.
func (s Store) Remove(ctx context.Context, name string) error {
	bucket, err := s.Bucket(ctx)
	if err != nil {
		return err
	}
	var f Function
	revision, err := Read(ctx, bucket, streams.FunctionKey(name), &f)
	if err != nil {
		return err
	}
	if revision == 0 {
		return fmt.Errorf("%w: %s", ErrNone, name)
	}
	if err := bucket.Delete(ctx, streams.FunctionKey(name), jetstream.LastRevision(revision)); err != nil {
		return fmt.Errorf("delete function %s: %w", name, err)
	}
	return s.prune(ctx)
}

// prune removes code that no version has. Code that is being deployed at this moment may go
// with it: that function then says that its code is missing, and is deployed again.
func (s Store) prune(ctx context.Context) error {
	all, err := s.All(ctx)
	if err != nil {
		return err
	}
	used := make(map[string]bool)
	for _, f := range all {
		for _, v := range f.Versions {
			used[v.Code] = true
		}
	}
	store, err := s.code(ctx)
	if err != nil {
		return err
	}
	objects, err := store.List(ctx)
	if errors.Is(err, jetstream.ErrNoObjectsFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list object store %s: %w", streams.StoreFunctions, err)
	}
	for _, o := range objects {
		if used[o.Name] {
			continue
		}
		if err := store.Delete(ctx, o.Name); err != nil && !errors.Is(err, jetstream.ErrObjectNotFound) {
			return fmt.Errorf("delete code %s: %w", o.Name, err)
		}
	}
	return nil
}

// Listed is a function with what its service says of it.
type Listed struct {
	Function
	Status Status
}

// All returns all functions by name.
func (s Store) All(ctx context.Context) ([]Listed, error) {
	bucket, err := s.Bucket(ctx)
	if err != nil {
		return nil, err
	}
	found, known := make(map[string]Function), make(map[string]Status)
	err = streams.ReadBucket(ctx, bucket, []string{streams.FunctionsDeclared, streams.FunctionStates}, func(entry jetstream.KeyValueEntry) {
		name, declared := streams.ParseFunctionKey(entry.Key())
		if declared {
			var one Function
			if json.Unmarshal(entry.Value(), &one) == nil {
				found[name] = one
			}
			return
		}
		var st Status
		if json.Unmarshal(entry.Value(), &st) == nil {
			known[name] = st
		}
	}, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, err
	}
	all := make([]Listed, 0, len(found))
	for name, f := range found {
		all = append(all, Listed{f, known[name]})
	}
	slices.SortFunc(all, func(a, b Listed) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}
