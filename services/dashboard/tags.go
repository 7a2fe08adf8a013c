package dashboard

import (
	"context"
	"maps"
	"time"

	"headwater/services/internal/config"
	"headwater/services/internal/configstore"
	"headwater/services/internal/process"
	"headwater/services/internal/silence"
	"headwater/streams"
)

// tagsEvery is the least pause between two versions of the configuration that have other tags.
const tagsEvery = time.Second

// tags returns the tags of a device: those of the file count more than those of the page. Nil
// means none.
func (s *registrySource) tags(site, device string) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := s.said[streams.AboutKey(site, device)].Tags
	if s.file == nil {
		return own
	}
	of := s.file.FileTags(site, device)
	if len(own) == 0 {
		return of
	}
	if len(of) == 0 {
		return own
	}
	all := maps.Clone(own)
	maps.Copy(all, of)
	return all
}

// wantedTags returns the tags that the configuration should hold, those that it or a silence
// names, and how many devices there is no room for, or that it holds them.
func (s *registrySource) wantedTags(silenced []string) (want config.Tags, left int, there bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil || !s.changed {
		return nil, 0, true
	}
	s.changed = false
	names := s.file.TagNames()
	for _, name := range silenced {
		names[name] = true
	}
	want = make(config.Tags)
	for key, one := range s.said {
		kept := make(map[string]string)
		for name, value := range one.Tags {
			if names[name] {
				kept[name] = value
			}
		}
		if site, device, ok := streams.ParseAboutKey(key); ok && len(kept) > 0 {
			want[site+"/"+device] = kept
		}
	}
	want, left = want.Within()
	return want, left, want.Equal(s.file.RegistryTags())
}

// runTags has the configuration hold the tags of the registry that its rules or silences match,
// until ctx ends: lanes take them in with it, so that a replay gives the same. Ready returns nil
// once the registry has been read.
func (s *registrySource) runTags(ctx context.Context, ready func() error, silences *silenceSource) {
	failing, seen := false, uint64(0)
	for ; ctx.Err() == nil; process.Sleep(ctx, tagsEvery) {
		if ready() != nil {
			continue
		}
		if v := silences.list.version(); v != seen {
			seen = v
			s.recheckTags()
		}
		want, left, there := s.wantedTags(silence.TagNames(silences.list.known()))
		if there {
			continue
		}
		if left > 0 {
			s.log.Error("rules do not match the tags of some devices: there are too many", "devices", left)
		}
		err := s.putTags(ctx, want)
		if err != nil && !failing && ctx.Err() == nil {
			s.log.Warn("rules do not match the tags of the registry yet; trying again", "err", err)
		}
		if failing = err != nil; failing {
			s.recheckTags()
		}
	}
}

func (s *registrySource) recheckTags() {
	s.mu.Lock()
	s.changed = true
	s.mu.Unlock()
}

func (s *registrySource) putTags(ctx context.Context, want config.Tags) error {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	store, err := configstore.Open(ctx, s.js)
	if err == nil {
		_, _, err = store.SetTags(ctx, want)
	}
	return err
}
