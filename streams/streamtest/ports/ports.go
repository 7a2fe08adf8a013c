// Package ports reserves TCP ports on loopback for programs that are started
// later, and perhaps more than once, at an address that others know before.
//
// A port that the kernel picks is only free at that moment: once the listener
// is closed, the kernel may hand the port to the next caller, also in another
// process. Reserved ports therefore lie below the ranges from which Linux and
// macOS pick (32768 and 49152), in blocks that one process holds at a time.
package ports

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

const (
	firstPort = 10_000
	lastPort  = 32_000
	blockSize = 100
)

var (
	mu sync.Mutex
	// locks are the listeners on the first port of each block of this process.
	// They stay open until the process ends and keep other processes away.
	locks []net.Listener
	// next and end bound what is left of the current block.
	next, end int
)

// Reserve returns n different addresses on 127.0.0.1 at which nobody listens.
// No later call returns them, neither in this process nor, while it lives, in
// another one. It is safe for concurrent use.
func Reserve(n int) ([]string, error) {
	mu.Lock()
	defer mu.Unlock()
	addresses := make([]string, 0, n)
	for len(addresses) < n {
		if next == end {
			if err := lockBlock(); err != nil {
				return nil, fmt.Errorf("reserve %d ports: %w", n, err)
			}
		}
		// A program that knows nothing of blocks may listen here.
		if l, err := listen(next); err == nil {
			addresses = append(addresses, l.Addr().String())
			if err := l.Close(); err != nil {
				return nil, fmt.Errorf("reserve a port: %w", err)
			}
		}
		next++
	}
	return addresses, nil
}

// lockBlock makes a block that no other process holds the current one.
func lockBlock() error {
	for _, i := range rand.Perm((lastPort - firstPort) / blockSize) {
		lock := firstPort + i*blockSize
		if l, err := listen(lock); err == nil {
			locks = append(locks, l)
			next, end = lock+1, lock+blockSize
			return nil
		}
	}
	return errors.New("every block of ports is in use")
}

func listen(port int) (net.Listener, error) {
	return net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
}
