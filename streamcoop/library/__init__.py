"""What a listener keeps: favourites and playlists; and her own plays, which stay where the books have them."""
