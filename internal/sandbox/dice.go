package sandbox

// A dice is a small random number generator (splitmix64). The generated account is
// a pure function of its seed: every record throws dice of its own, so that any
// record can be made again without the ones before it.
type dice uint64

// kind keeps the dice and the ids of different sorts of records apart.
type kind uint64

const (
	kindOpportunity kind = iota + 1
	kindDetails
	kindContact
	kindApplication
	kindOffer
	kindReferral
	kindResume
	kindPosting
	kindRequisition
	kindUser
	kindStage
	kindReason
	kindForm
	kindFile
	kindTemplate
	kindAccount
	kindNew
	kindChange
	kindFault
)

func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// throw returns the dice of the n-th record of a kind.
func throw(seed uint64, k kind, n int) dice {
	return dice(mix(seed ^ mix(uint64(k)<<56^uint64(n)+0x9e3779b97f4a7c15)))
}

func (d *dice) next() uint64 {
	*d += 0x9e3779b97f4a7c15
	return mix(uint64(*d))
}

// below returns a number from 0 to n-1; 0 if n is not positive.
func (d *dice) below(n int) int {
	if n <= 0 {
		return 0
	}
	return int(d.next() % uint64(n))
}

// permille is true n times in a thousand.
func (d *dice) permille(n int) bool { return d.below(1000) < n }

// millis returns a time from 0 to n-1 milliseconds.
func (d *dice) millis(n int64) int64 {
	if n <= 0 {
		return 0
	}
	return int64(d.next() % uint64(n))
}

func pick[T any](d *dice, from []T) T { return from[d.below(len(from))] }
