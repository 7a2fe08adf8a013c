package front

import (
	"io"
	"net"
)

const (
	// smallBuffer is what a connection that sends little has in each direction, largeBuffer
	// what one that sends much has, in bytes.
	smallBuffer = 2 << 10
	largeBuffer = 32 << 10
	// largestBuffer must hold what is looked at as a whole.
	largestBuffer = 2 * maxControl
	// calm is how many small reads make a buffer small again.
	calm = 64
)

// pump moves packets from one connection to another. Bytes that stay as they are, are
// written from where they were read to, without a copy. One goroutine only.
type pump struct {
	src net.Conn
	dst io.Writer
	// judge looks at the packet at the head of what is read. It returns false to see more
	// of it, else it calls pass, replace or drop. It is not called again for the rest of
	// a packet that is passed or dropped.
	judge func(first byte, size, head int) (bool, error)

	// buf[r:w] is read and not judged, buf[run:r] is to be written as it is.
	buf       []byte
	run, r, w int
	// rest is how much of the current packet is still to come, and dropping whether it is
	// dropped.
	rest     int
	dropping bool
	// out is to be written before buf[run:r]: packets that were replaced, and what came
	// between them.
	out []byte
	// busy is set when the last read has filled the buffer, quiet counts the reads that
	// were small.
	busy  bool
	quiet int
	// broken is set when nothing can be written any more.
	broken bool
	// written, if not nil, is called when what is judged is written.
	written func()
}

// run moves packets until a connection ends or a packet is refused. What comes before
// that is written.
func (p *pump) move() error {
	for {
		err := p.scan()
		if written := p.flush(); err == nil {
			err = written
		}
		if err == nil {
			err = p.fill()
		}
		if err != nil {
			return err
		}
	}
}

// scan judges what is read.
func (p *pump) scan() error {
	for p.r < p.w {
		if p.rest > 0 {
			n := min(p.rest, p.w-p.r)
			p.r, p.rest = p.r+n, p.rest-n
			if p.dropping {
				p.run = p.r
			}
			continue
		}
		first, size, head, err := header(p.buf[p.r:p.w])
		if err != nil || head == 0 {
			return err
		}
		if judged, err := p.judge(first, size, head); err != nil || !judged {
			return err
		}
	}
	return nil
}

// pass leaves the next n bytes, also those that are still to come, as they are.
func (p *pump) pass(n int) { p.rest, p.dropping = n, false }

// drop leaves out the next n bytes, also those that are still to come.
func (p *pump) drop(n int) {
	p.settle()
	p.rest, p.dropping = n, true
}

// replace writes the packet in place of the next n bytes, which are read.
func (p *pump) replace(n int, first byte, parts ...[]byte) {
	p.replaceHead(n, 0, first, parts...)
}

// replaceHead writes the parts in place of the next n bytes, which are read; more bytes of
// the packet follow as they are.
func (p *pump) replaceHead(n, more int, first byte, parts ...[]byte) {
	p.settle()
	size := more
	for _, part := range parts {
		size += len(part)
	}
	p.out = appendVarint(append(p.out, first), size)
	for _, part := range parts {
		p.out = append(p.out, part...)
	}
	p.r += n
	p.run = p.r
	p.pass(more)
}

// settle moves what is to be written as it is behind what was replaced.
func (p *pump) settle() {
	p.out = append(p.out, p.buf[p.run:p.r]...)
	p.run = p.r
}

// flush writes what is judged.
func (p *pump) flush() error {
	err := p.writeJudged()
	if p.written != nil {
		p.written()
	}
	return err
}

func (p *pump) writeJudged() error {
	if len(p.out) > 0 {
		if p.r-p.run <= smallBuffer {
			p.settle()
		}
		if err := p.write(p.out); err != nil {
			return err
		}
		p.out = p.out[:0]
	}
	if p.run == p.r {
		return nil
	}
	err := p.write(p.buf[p.run:p.r])
	p.run = p.r
	return err
}

func (p *pump) write(b []byte) error {
	_, err := p.dst.Write(b)
	p.broken = p.broken || err != nil
	return err //nolint:wrapcheck // the connection ends without a word, whatever the reason
}

// fill reads more. What is judged must be written.
func (p *pump) fill() error {
	switch {
	case p.r == p.w:
		p.run, p.r, p.w = 0, 0, 0
		p.resize()
	case p.r > 0:
		p.w = copy(p.buf, p.buf[p.r:p.w])
		p.run, p.r = 0, 0
	case p.w == len(p.buf) && p.w == largestBuffer:
		return errTooLarge
	case p.w == len(p.buf):
		p.buf = append(p.buf, make([]byte, len(p.buf))...)
	}
	n, err := p.src.Read(p.buf[p.w:])
	p.w += n
	p.busy = p.w == len(p.buf)
	if n < smallBuffer/2 {
		p.quiet++
	} else {
		p.quiet = 0
	}
	if n > 0 {
		return nil // the error comes again
	}
	return err //nolint:wrapcheck // as in write
}

// resize makes an empty buffer larger after a read that filled it, and small again after
// many small reads.
func (p *pump) resize() {
	switch {
	case p.buf == nil:
		p.buf = make([]byte, smallBuffer)
	case p.busy && len(p.buf) < largeBuffer:
		p.buf = make([]byte, 2*len(p.buf))
	case p.quiet >= calm && len(p.buf) > smallBuffer:
		p.buf, p.out = make([]byte, smallBuffer), nil
	}
}
