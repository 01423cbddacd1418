"""From any image file to the paper's square (section 2), and to bytes."""
