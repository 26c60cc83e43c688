//! Record batches as a whole: built, checked, damaged, patched, and compared with `kafka-protocol`.
