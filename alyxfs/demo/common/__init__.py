"""What all areas of the demo share: fields, filters, pages, permissions, errors."""
