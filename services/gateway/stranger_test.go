package gateway

import (
	"bufio"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"headwater/services/decode"
)

// TestAStrangerHasToLogInSoon has a sender that has to log in send something else again and
// again.
func TestAStrangerHasToLogInSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Service{cfg: DefaultConfig()}
		s.readers.New = func() any { return &reader{decoder: new(decode.Decoder)} }
		here, there := net.Pipe() // its address is not that of this machine
		var serving sync.WaitGroup
		begin := time.Now()
		serving.Go(func() {
			(&lineServer{Service: s}).serve(t.Context(), there)
			_ = there.Close()
		})
		answers := bufio.NewReader(here)
		for {
			if _, err := io.WriteString(here, "door-1,21.5\n"); err != nil {
				break
			}
			if answer, err := answers.ReadString('\n'); err != nil || answer != "ERROR log in first: send AUTH and the token of a credential\n" {
				t.Fatalf("answered %q, %v", answer, err)
			}
			if time.Since(begin) > time.Hour {
				t.Fatal("it still has its connection")
			}
			<-time.After(logInWithin * 3 / 4)
		}
		serving.Wait()
		if took := time.Since(begin); took < logInWithin || took > 2*logInWithin {
			t.Errorf("its connection is closed after %s", took)
		}
	})
}
